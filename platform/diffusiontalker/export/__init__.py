"""From a trained student to the artifact that is shipped."""
