{{ staged("assignments") }}
