"""Measure recipes on the user's own data, and advise one."""
