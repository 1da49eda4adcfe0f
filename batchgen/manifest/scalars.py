"""What an unquoted YAML scalar means: text, unless there is no doubt."""
