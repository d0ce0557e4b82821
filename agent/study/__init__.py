"""The rank study: how well cheap training strategies rank specs."""
