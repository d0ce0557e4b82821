"""Is said: jinja2 templates, one file per prompt, and the one function that renders them."""
