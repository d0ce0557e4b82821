"""A live page about the searches of a memory: what it reads, who may ask, and how it writes as a chat does."""
