"""What every framework's store needs."""
