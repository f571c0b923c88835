"""Turns the bytes of an image file into pixels, without Spark. `decode` is the way in."""
