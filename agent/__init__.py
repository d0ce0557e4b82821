"""Decides: the LangChain agent, its backends, the search loop, the reports and the command line."""
