"""Cartoon faces with attributes, rendered on first use.

The drawings are the Avataaars by Pablo Stanley (https://avataaars.com), free for personal and commercial use, in the
files of ``python-avatars`` by Ibon (MIT). ``resvg-py`` renders them.

Attributes are drawn independently of each other and of everything else in the picture: no skin, hair or clothes go
with a beard, long hair or a hat more often than others. Where two could exclude each other, both are drawn: a hat lies
over the hair, which shows below it, and a person with glasses and sunglasses has the sunglasses on the forehead.
"""
