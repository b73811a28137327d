"""What an error has to say."""

import re


def says(fragments):
    """A pattern that finds all the fragments, in any order."""
    return "(?s)" + "".join(f"(?=.*{re.escape(fragment)})" for fragment in fragments)
