#!/bin/sh
# The same as naive_httpx.py with GNU parallel, curl and jq: naive_curl.sh BASE LIST FOLDER AT_ONCE
model=ideogram/ideogram-v2/generate
token="Authorization: Bearer $RUNCOMFY_TOKEN"

if [ "$1" != one ]; then
    jq -r '[.id, .prompt] | @tsv' "$2" |
        parallel --will-cite -j "$4" --colsep '\t' sh "$0" one "$1" "$3" '{1}' '{2}'
    exit
fi

base=$2 folder=$3 id=$4 prompt=$5
body=$(jq -nc --arg prompt "$prompt" '{prompt: $prompt}')
request=$(curl -sf --retry 5 -H "$token" -H 'Content-Type: application/json' -d "$body" \
    "$base/models/$model" | jq -r .request_id)
[ -n "$request" ] || exit 1
while :; do
    status=$(curl -sf -H "$token" "$base/requests/$request/status" | jq -r .status)
    case $status in
        in_queue | in_progress) sleep 1 ;;
        *) break ;;
    esac
done
url=$(curl -sf -H "$token" "$base/requests/$request/result" | jq -r .output.image)
curl -sf -o "$folder/$id.png" "$url"
