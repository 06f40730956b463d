"""Seeds of cases for drivers, all apart from those of training runs and of closing tables."""

VALIDATION_SEED = 3_000_017
"""For choices: what is picked, tuned or designed by its figures looks at these cases (the safety
layer was), so that the others stay unseen."""
CASES_SEED = 4_000_037
"""For the search for critical cases, of which one half may be trained on."""
TEST_SEED = 9_000_011
"""For the card: nothing has been chosen on these cases. Keep it so; a figure of a model that was
picked by them is no estimate any more."""
