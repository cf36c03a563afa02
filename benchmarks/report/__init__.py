"""What a run is shown as.

`wording`   numbers as people read them
`tables`    one table a scenario, with its ratios to a named baseline
`targets`   what storewriter promises, checked against the run
`charts`    what is drawn, without saying with what
`page`      all of it in one interactive page that needs nothing else
`plots`     the charts in it
`pictures`  the same charts as SVG
`markdown`  overviews, promises and tables as Markdown
`publish`   the pictures and tables that documentation and README show
`terminal`  the tables as text
"""
