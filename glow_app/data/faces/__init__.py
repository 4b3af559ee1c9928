"""Cartoon faces with attributes, rendered on first use.

The drawings are the Avataaars by Pablo Stanley (https://avataaars.com), free for personal and commercial use, from the
files of ``python-avatars`` by Ibon (MIT). ``resvg-py`` renders them.

All attributes are independent of each other and of everything else in the image: skin, hair or clothes, for example, do
not correlate with a beard, long hair or a hat. Attributes never exclude each other: hair shows below a hat, and a
person with glasses and sunglasses wears the sunglasses on the forehead.
"""
