{{ staged("officers") }}
