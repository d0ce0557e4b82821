"""The file of a memory: where it may lie, how it is opened, and who else holds it."""
