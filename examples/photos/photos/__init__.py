"""A service for photos: login, uploads, an event stream, a background job, a database."""
