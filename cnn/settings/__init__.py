"""What a user may set: the schema of all settings, and how they are read from TOML.

`schema` says what a search is told, `params` what one configuration of a network is, `dimension`
what a space may vary; `toml` lays files, flags and `--set` over one another.
"""
