"""Talking about a search: lines come in, answers go out, wishes become directives."""
