"""The environment's proxy, for many requests."""

import pytest

from batchgen.network.session import proxy_finder


def test_the_environment_is_looked_at_once_for_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy.test:3128")
    find = proxy_finder(use_proxy=True)
    assert find("https://api.test/one") == "http://proxy.test:3128"
    monkeypatch.delenv("HTTPS_PROXY")
    assert find("https://api.test/another?q=1") == "http://proxy.test:3128"
    assert find("https://media.test/one") is None
    assert find("http://api.test/one") is None


def test_where_proxies_do_not_apply_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert proxy_finder(use_proxy=False)("https://api.test/one") is None
