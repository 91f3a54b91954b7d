"""From the uploaded form to stored products: form, reader, products, store.

Reading and checking are pure; only `store` writes to PostgreSQL.
"""
