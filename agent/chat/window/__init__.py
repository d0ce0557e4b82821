"""The window of a chat: what is typed, what is heard, and what is agreed to."""
