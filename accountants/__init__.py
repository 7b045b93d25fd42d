"""accountants: see README."""
