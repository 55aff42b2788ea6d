<?php

return ['paths' => [], 'compiled' => env('APP_SHARED') . '/views'];
