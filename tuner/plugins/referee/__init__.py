"""A referee for loops that change a program, run it and keep what scores better: is it better, or noise?"""
