"""The explorers of single lessons, one module a lesson; that of lesson 03 is ``lthviz.explore``."""
