"""Who answers: language models by their addresses, their prices, their errors, and the record of what they said."""
