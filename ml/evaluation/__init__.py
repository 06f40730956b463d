"""Controllers, metrics and the tables that compare them."""
