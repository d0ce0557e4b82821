"""``diffnas-agent compress``: a trained UNet made cheaper, as a search of its own."""
