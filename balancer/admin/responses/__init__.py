"""The answers of the admin API, as types: OpenAPI is made from them, and tests compare every answer with them."""
