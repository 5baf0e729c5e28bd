-- A view: the largest table is read once, on its way to the scores.
{{ config(materialized="view") }}

{{ staged("item_responses") }}
