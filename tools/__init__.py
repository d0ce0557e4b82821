"""Acts: one file per typed tool, the executors, and the enforcement of budgets before anything is spent."""
