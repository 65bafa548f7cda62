"""From recordings as they come to separated speakers and their words."""
