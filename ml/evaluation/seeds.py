"""Seeds of the cases that drivers are judged on; no training run and no closing table uses them."""

VALIDATION_SEED = 3_000_017
"""For choices: what is picked, tuned or designed by its figures looks at these cases (the safety
layer was), so that the others stay unseen."""
TEST_SEED = 9_000_011
"""For the card: nothing has been chosen on these cases. Keep it so; a figure of a model that was
picked by them is no estimate any more."""
