"""The locally connected layer and its transpose: a filter of its own at every position."""
