"""What happens to a collection in use: migration, model upgrades, new codes."""
