"""The tests mirror the wings of yummy_fast, file by file.

What needs several wings has a folder of its own: contract, property, system, conformance.
"""
