"""Terminal output before, during and after a study."""
