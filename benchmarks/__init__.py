"""Side-by-side measurements; each module answers the question in its name."""
