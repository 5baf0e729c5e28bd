{{ staged("supervisions") }}
