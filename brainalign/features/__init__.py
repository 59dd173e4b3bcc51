"""From stimuli to numbers: one module for each kind of feature, and the store that keeps them."""
