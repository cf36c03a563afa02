"""What people use today, each doing the same work as storewriter.

`locks`      a lock from a library around load, modify, save
`reference`  the lock of the program that storewriter was written for
`databases`  a row per record
`sketches`   what the design can reach, written by hand without its guarantees, on `saves` and `batches`
`functions`  storewriter with update functions of other shapes
`node`       peers in another language
"""
