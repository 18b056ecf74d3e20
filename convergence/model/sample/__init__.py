"""A made-up billing export whose totals are known exactly: pure rules, from a seed to its rows."""
