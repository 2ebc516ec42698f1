"""How sub-networks are found."""
