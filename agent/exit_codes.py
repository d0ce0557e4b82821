"""What the program ends with (CONTRACT.md): 0 where all went well, and these."""

FAILURE, USER_MISTAKE, BY_LIMIT, INTERRUPTED = 1, 2, 3, 130
