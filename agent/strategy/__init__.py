"""The search for a rapid training strategy."""
