"""Documents in files of users: read for ``embplug add``, written by ``embplug export``."""
