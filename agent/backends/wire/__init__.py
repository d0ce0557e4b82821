"""What comes over the wire from servers that resemble OpenAI's: how much, how long, and in which shape."""
