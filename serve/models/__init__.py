"""The students that are served, and the identities and emotions that condition them."""
