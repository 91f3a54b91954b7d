"""The same job in other hands, to compare with."""
