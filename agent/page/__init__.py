"""The page about a search: what it holds as data, the figures that are drawn of it, and the HTML file that has all."""
