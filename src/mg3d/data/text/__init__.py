"""Reports: sections, clauses, tokens, and what may be wrong with them."""
