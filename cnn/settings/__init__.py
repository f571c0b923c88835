"""What a user may set: the schema of all settings, and how they are read from TOML.

`schema` has the settings of a search and `final` those of its winner, `params` one configuration of
a network and `network_size` how large that is, `dimension` one parameter of a search space,
`objective` what trials are ranked by. `toml` merges files, flags and `--set`. The default settings
and search space are in conf/default.toml.
"""
