"""What several rules have in common: parts that a rule *has*."""
